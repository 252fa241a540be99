"""What operators do with a data directory beside running a broker on it: look, check, save, back up."""
