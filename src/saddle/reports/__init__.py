"""Reports: records in; pictures, curves and pages out. Imports nothing: a reader pays for what it uses."""
