"""Pictures of the book: PNG at twice the resolution, margins cut off; warnings without file names."""

c = get_config()
c.InlineBackend.figure_formats = {"retina"}
# A warning names its cell's temporary file by default, another one each time the book is built.
c.InteractiveShellApp.exec_lines = [
    "__import__('warnings').formatwarning = lambda message, kind, *_, **__: f'{kind.__name__}: {message}\\n'"
]
# A kernel for the build alone says on every start that it talks without encryption.
c.Application.log_level = "ERROR"
