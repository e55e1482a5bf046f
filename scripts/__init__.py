"""What is run beside the package: services for tests and laptops, and how the data that ship were made."""
