"""Care of stored data: backups, restoring them, migrations, and how large everything is."""
