(ns httpkit.docstrings-test
  "What `doc` says at a REPL: each public Var has a docstring, and shows a call of itself."
  (:require [clojure.string :as str]
            [clojure.test   :refer [deftest is]])
  (:import (java.util.regex Pattern)))

(set! *warn-on-reflection* true)

(def ^:private namespaces
  '[org.httpkit.server org.httpkit.client org.httpkit.timer org.httpkit.sni-client org.httpkit.utils org.httpkit.encode
    org.httpkit.sse org.httpkit.stats org.httpkit.topics])

(def ^:private without-example
  "Protocols and their private method; values, which are not called; what is deprecated says what to use instead."
  '#{org.httpkit.server/-server-stop! org.httpkit.server/IHttpServer org.httpkit.server/Channel
     org.httpkit.server/accept org.httpkit.server/with-channel
     org.httpkit.client/default-client org.httpkit.client/legacy-client org.httpkit.client/insecure-client
     org.httpkit.client/default-worker_ org.httpkit.client/*default-client* org.httpkit.sni-client/default-client})

(defn- public-vars []
  (for [n     namespaces
        :let  [_ (require n)]
        [s v] (sort (ns-publics n))
        :when (not (:no-doc (meta v)))]
    [(symbol (name n) (name s)) v]))

(defn- calls-itself? [doc called]
  (re-find (re-pattern (str "\\((?:[\\w.-]+/)?" (Pattern/quote (name called)) "[\\s)]")) doc))

(deftest each-public-var-has-a-docstring-and-shows-a-call-of-itself
  (doseq [[v var] (public-vars)
          :let    [doc (str (:doc (meta var)))]]
    (if (without-example v)
      (is (or (:deprecated (meta var)) (#{'-server-stop! 'IHttpServer} (symbol (name v))) (seq doc)) v)
      (do (is (< 20 (count doc)) v)
          (is (calls-itself? doc v) (str v " shows no call"))))))

(deftest what-needs-no-example-exists
  (is (empty? (remove (set (map first (public-vars))) without-example))))

(deftest no-line-of-a-docstring-is-longer-than-a-terminal
  (doseq [[v var] (public-vars)
          line    (str/split-lines (str (:doc (meta var))))]
    (is (<= (count line) 120) (str v ": " line))))

(deftest values-in-examples-are-what-the-calls-return
  (doseq [[v var] (public-vars)
          :when   (#{'url-encode 'query-string 'sec-websocket-accept 'base64-encode} (symbol (name v)))
          :let    [[_ call value] (re-find #"(?m)^ +(\(.*\)) ; => (.*)$" (:doc (meta var)))]]
    (is (= (read-string value)
           (binding [*ns* (the-ns (symbol (namespace v)))] (eval (read-string call))))
        v)))
