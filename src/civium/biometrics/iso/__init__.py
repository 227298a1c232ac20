"""ISO/IEC 19794 records: finger image, face image, iris image (2011) and finger minutiae (2005)."""
