;; For `lein repl` and `lein test` in this checkout. The jar is made by build.gradle alone.
(defproject http-kit "2.9.0-rust.1"
  :description "HTTP server, client and WebSockets for Clojure: http-kit's API on a Rust core"
  :license {:name "Apache-2.0" :url "https://www.apache.org/licenses/LICENSE-2.0"}

  :source-paths   ["clojure"]
  :test-paths     ["tests/clojure"]
  :resource-paths ["build/classes/java/main" "build/native"]
  ;; Not target/: that one is cargo's, and `lein clean` would delete it.
  :target-path    "build/lein"
  :prep-tasks     [["run" "-m" "httpkit.prep"]]

  :dependencies []
  :profiles
  {:provided {:dependencies [[org.clojure/clojure "1.11.1"]]}

   ;; Leiningen needs nREPL, which is on Clojars. Debian's own jars do where Clojars cannot be reached;
   ;; elsewhere this repository does not exist, and nothing is looked up in it.
   :dev {:repositories [["debian" {:url "file:/usr/share/maven-repo" :checksum :ignore}]]}})
