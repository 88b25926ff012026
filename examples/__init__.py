"""Small programs to start from: a loop over a Gymnasium environment, and a node for ROS 2. Continuous integration runs
them; nothing imports them."""
