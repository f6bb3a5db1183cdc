"""The SQL seam: tables, one module of functions per subject, migrations.

Functions take a connection and return model dataclasses, never rows. Whoever opens the transaction
decides where it ends; nothing here commits.
"""
