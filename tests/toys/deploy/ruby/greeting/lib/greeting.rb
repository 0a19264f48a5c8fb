module Greeting; TEXT = "hello from ruby"; end
