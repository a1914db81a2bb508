"""What operators watch s3mount with: the metrics' document, the dashboard, the alerts."""
