"""Cron strings: 5 fields (crontab), 6 or 7 fields (Quartz), and names such as `@daily`."""
