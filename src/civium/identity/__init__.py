"""The ID repository: the register of persons and their virtual IDs."""
