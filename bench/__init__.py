"""The benchmark: scenarios run on Mansio and RabbitMQ in turn, and a hostile-client test."""
