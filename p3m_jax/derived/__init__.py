"""Files that are made once for each picture and cached: foregrounds and face areas."""
