"""What tests need: brokers to start and stop, and a simulated machine."""
