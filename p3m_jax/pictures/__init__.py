"""Files that hold pictures, mattes and masks: reading, checking and writing them."""
