Gem::Specification.new do |s|
  s.name = "greeting"
  s.version = "1.0.0"
  s.summary = "What the app says"
  s.authors = ["the app's"]
  s.files = ["lib/greeting.rb"]
end
