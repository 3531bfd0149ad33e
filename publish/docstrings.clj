;; Writes the docstrings of the public namespaces as pages: java -cp ... clojure.main publish/docstrings.clj <directory>
;; A namespace that is marked ^:no-doc has none.
(ns docstrings
  (:require [clojure.java.io :as io]
            [clojure.string  :as str])
  (:import [java.io File PushbackReader]))

(defn- ns-name-of
  "The namespace that a file declares, or nil if it is no API."
  [file]
  (with-open [in (PushbackReader. (io/reader file))]
    (let [[_ ns-name] (read {:read-cond :allow :features #{:clj}} in)]
      (when-not (:no-doc (meta ns-name))
        ns-name))))

(defn- namespaces []
  (->> (file-seq (io/file "clojure" "org"))
       (filter #(str/ends-with? (.getName ^File %) ".clj"))
       (keep ns-name-of)
       (sort)))

(defn- escape [text]
  (str/escape (str text) {\< "&lt;" \> "&gt;" \& "&amp;" \" "&quot;"}))

(defn- page [title & content]
  (str "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>" (escape title) "</title></head>\n<body>\n"
       (str/join "\n" (flatten content))
       "\n</body>\n</html>\n"))

(defn- documented [ns-name]
  (->> (ns-publics ns-name)
       (remove #(:no-doc (meta (val %))))
       (filter #(:doc (meta (val %))))
       (sort-by key)))

(defn- entry [[var-name v]]
  (let [{:keys [arglists doc deprecated macro]} (meta v)]
    [(format "<h2 id=\"%1$s\">%1$s%2$s%3$s</h2>" (escape var-name)
             (if macro " (macro)" "") (if deprecated (str " (deprecated since " (escape deprecated) ")") ""))
     (for [arglist arglists]
       (str "<p><code>(" (escape (str/join " " (cons var-name (map pr-str arglist)))) ")</code></p>"))
     (str "<pre>" (escape doc) "</pre>")]))

(defn- namespace-page [ns-name]
  (let [entries (documented ns-name)]
    (page ns-name
          (str "<h1>" ns-name "</h1>")
          (str "<pre>" (escape (:doc (meta (the-ns ns-name)))) "</pre>")
          "<ul>"
          (for [[var-name] entries]
            (format "<li><a href=\"#%1$s\">%1$s</a></li>" (escape var-name)))
          "</ul>"
          (map entry entries))))

(let [[target] *command-line-args*
      all      (namespaces)]
  (.mkdirs (io/file target))
  (doseq [ns-name all]
    (require ns-name)
    (spit (io/file target (str ns-name ".html")) (namespace-page ns-name)))
  (spit (io/file target "index.html")
        (page "http-kit"
              "<h1>Namespaces</h1>\n<ul>"
              (for [ns-name all]
                (format "<li><a href=\"%1$s.html\">%1$s</a></li>" ns-name))
              "</ul>\n<p><a href=\"../index.html\">Java classes</a></p>")))
(shutdown-agents)
