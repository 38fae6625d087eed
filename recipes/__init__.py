"""Training recipes with their data generators. They are not part of the installed package."""
