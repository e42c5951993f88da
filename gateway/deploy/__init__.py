"""What runs the service on a machine: the settings of gunicorn.py, systemd's units, nginx."""
