"""Durable storage behind one small interface. Start reading in base.py."""
