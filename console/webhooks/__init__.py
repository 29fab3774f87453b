"""Outgoing webhooks: dispatches posted to others' servers, signed, until they are taken or given up."""
