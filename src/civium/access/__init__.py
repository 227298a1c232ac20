"""Who may call: users, service clients, the built-in token issuer, the auth-manager API."""
