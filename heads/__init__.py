"""What learns: classifiers on cached features (and, in `heads.nets`, networks trained from images)."""
