"""Workers as processes: started, kept running, vouched for, and ended.

child        a worker process, from its start to its end; news: its words to its parent
process      starting and stopping such processes, and how they have ended
supervisor   keeping them running: replaced where they die, with a backoff
launched     the workers of a program's own; main_module: how they come by its definitions
measuring    metrics and health of them all, over HTTP; answering: a process's side of it
vouching     telling the broker that processes live, or how they ended; telling: its words
signals      signals as something to wait for; shield: the server that workers fork from does not die of one
printing     lines that nodes print, in the log at once
orphans      the duty of the first process of a container
exits        exit statuses
without_fork_handlers   gRPC leaves the forks of workers alone; frozen: no collection walks the imports
"""
