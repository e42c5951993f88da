"""What runs the service on a machine: gunicorn.py and its memory.py, systemd's units, nginx."""
