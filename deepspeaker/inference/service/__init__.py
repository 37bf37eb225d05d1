"""`deepspeaker serve`: a trained model over HTTP, and a page to try it with.

server    the process: address, token, start and end
protocol  uvicorn's HTTP with a time limit for the head of a request, and errors as JSON
guard     before any request: who may ask, how much may be sent, and the headers of every answer
budget    how much decoding a client may ask for
app       the application: page, routes, errors
routes    what each address takes and answers
work      recordings heard and the database asked for a route
listeners the threads that hear recordings, several waiting ones together
page/     the page: plain HTML, CSS and JavaScript
"""
