"""What operators run: commands, checks, backups. Skip this package on a first reading."""
