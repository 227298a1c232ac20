"""Reference data of the country: ID schema, identity mapping, centres, machines, operators, templates."""
