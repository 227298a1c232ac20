"""Registration packets: how a client builds them, and how the server opens and checks them."""
