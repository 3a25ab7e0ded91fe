"""The search itself: the loop, Ray, reward, resume, and the command line. Imports nothing by itself."""
