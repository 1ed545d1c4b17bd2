REPORT = "report.md"
def write(results, out): pass
