"""The one place that speaks to MLflow: the store, writing a run, reading runs back."""
