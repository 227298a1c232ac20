"""Pure foundations: identifiers, secret values, clock, errors, encodings, wire envelope. No IO."""
