"""What runs the service under gunicorn.

gunicorn.py  gunicorn's settings, and its worker
turns.py     which thread runs Python code
"""
