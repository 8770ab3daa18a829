"""What is planned, and one measuring job."""
