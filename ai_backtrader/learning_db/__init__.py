"""The learning database: what the systems have seen, kept in SQLite."""
