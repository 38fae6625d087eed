"""The routes of the service, by resource."""
