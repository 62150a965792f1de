"""Models (heads on cached features, nets on images) and the metrics they are judged by."""
