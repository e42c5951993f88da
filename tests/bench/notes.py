NOTES = """
"""
