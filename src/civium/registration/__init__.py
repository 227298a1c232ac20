"""The registration processor: takes packets in, examines them, has the register mint the UIN, tells the status."""
