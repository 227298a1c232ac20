"""ID authentication: yes/no answers, e-KYC, OTP, locks and tokens, on its own sealed copy of the data."""
