(ns proxy
  "The client inside a handler: the request is passed on, the response is passed back when it comes.
  No thread waits for the other server."
  (:require [clojure.string :as str]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server]))

(defn- pass-on
  "Copies status, type and body. A real proxy also copies the end-to-end headers (RFC 9110, section 7.6.1)."
  [{:keys [status headers body error]}]
  (if error
    {:status 502, :headers {"Content-Type" "text/plain"}, :body (str "upstream failed: " (ex-message error))}
    {:status status, :headers {"Content-Type" (:content-type headers "application/octet-stream")}, :body body}))

(defn start
  "Serves what `:upstream` (such as \"http://localhost:8081\") serves."
  [{:keys [upstream] :as options}]
  (server/run-server
    (fn [{:keys [request-method uri query-string body] :as request}]
      ;; With another beginning, such as "@elsewhere/", the URL would be one of another server.
      (if-not (str/starts-with? uri "/")
        {:status 400, :headers {"Content-Type" "text/plain"}, :body "not a path"}
        (server/as-channel request
          {:on-open (fn [channel]
                      (client/request {:method  request-method
                                       :url     (str upstream uri (when query-string (str "?" query-string)))
                                       :body    body
                                       :as      :byte-array
                                       :timeout 10000
                                       :follow-redirects false}
                        (fn [response]
                          (server/send! channel (pass-on response)))))})))
    (dissoc options :upstream)))

(defn -main [& [port upstream]]
  (start {:port (Long/parseLong (or port "8090")) :upstream (or upstream "http://localhost:8081")}))
