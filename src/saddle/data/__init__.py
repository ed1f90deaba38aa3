"""Where samples come from: mixtures of points and small sets of images, each as one ``Dataset``."""
