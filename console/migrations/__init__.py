"""Steps that bring the desk's record from one version of its tables to the next. Alembic runs them."""
