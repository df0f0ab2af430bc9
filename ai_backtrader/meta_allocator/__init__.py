"""The meta-allocator: capital across strategies."""
