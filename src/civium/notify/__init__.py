"""Messages to people: mail and SMS from templates in the person's languages."""
