def write(out): print("results", out)
