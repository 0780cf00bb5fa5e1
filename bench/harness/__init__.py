"""What bench/run is made of: the machine's state, the variants, one module per section, and the report."""
