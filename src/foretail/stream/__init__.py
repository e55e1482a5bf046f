"""Sales as events: made, sent through Kafka, and applied to the warehouse exactly once."""
