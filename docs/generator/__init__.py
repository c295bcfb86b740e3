"""What the site takes from the code: the config's fields, commands' options, and source files."""
