"""The learning database: what the systems have seen, kept in SQLite."""

from ai_backtrader.learning_db.database import LearningDatabase
from ai_backtrader.learning_db.errors import LearningDatabaseError
from ai_backtrader.learning_db.readers import RecordedAnswer
from ai_backtrader.learning_db.verification import Verification, verify_file

__all__ = ["LearningDatabase", "LearningDatabaseError", "RecordedAnswer", "Verification", "verify_file"]
