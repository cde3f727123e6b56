"""The page. Defaults, limits, labels and help of settings come from the settings; nothing is written here twice."""
