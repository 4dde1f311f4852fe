"""Jobs files: workflows written as YAML or JSON, a command for each job."""
